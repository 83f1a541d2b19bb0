"""Fast paths of the attack in training, each equal to the plain path or said to be an approximation."""
