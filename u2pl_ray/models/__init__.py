"""Floor 2: the student (segmentor) and the teacher (its EMA)."""
