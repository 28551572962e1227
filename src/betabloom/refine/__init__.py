"""What goes on with a finished model: sharper decoders, larger pictures, samplers of other pictures."""
