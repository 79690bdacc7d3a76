"""The networks: transforms, context models and likelihoods; nothing here knows of files."""
