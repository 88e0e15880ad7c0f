"""Around the leaderboard: comparisons, published numbers, submissions, the page's parts."""
