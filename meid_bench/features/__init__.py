"""Videos become features: frames, decoders, encoders, extraction, and the store."""
