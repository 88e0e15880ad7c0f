"""MEID: Mixture-of-Experts with Internal Distillation (AAAI 2023)."""
