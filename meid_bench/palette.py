"""The palette of all pictures: Okabe and Ito's, without colours that a page makes hard to see."""

SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1")
# As results/report_assets/style.css has them.
GROUP_COLOURS = {"head": "#0072b2", "medium": "#d98a00", "tail": "#009e73"}
SPLIT_COLOURS = {"train": "#0072b2", "val": "#d55e00", "test": "#009e73"}
