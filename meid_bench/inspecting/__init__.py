"""What a trained run looks at in a video."""
