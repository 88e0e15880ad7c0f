"""The parts of `extract`: decoders and their pool, the encoder's parts, the pipeline."""
