"""How the subject-disjoint lists were made; nothing that `meid-bench build` runs."""
