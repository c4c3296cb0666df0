"""Ray Train worker groups side by side: what the launcher does, what each worker does, what they tell each other."""
