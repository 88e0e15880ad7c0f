"""What a method is, and what methods share: the interface, aggregators, losses, samplers."""
