"""The parts of a segment's description: its name, its row in the table of segments, and the model that is saved."""
