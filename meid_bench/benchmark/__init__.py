"""Official files, lists or a labels.csv become a benchmark: names, classes, ids and labels."""
