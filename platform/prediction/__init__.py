"""Images of anybody's, classified by a model that was trained here: what is read, how, and what is written of it."""
