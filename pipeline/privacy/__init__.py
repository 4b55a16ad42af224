"""What persons may ask for: erasure, consent, access, and the proof that it was done."""
