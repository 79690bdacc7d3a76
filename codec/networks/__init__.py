"""Networks of the codec: layers, transforms, context models and likelihoods; nothing here reads or writes files."""
