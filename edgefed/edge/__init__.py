"""Edge devices: profiles, the clock, energy, availability, and codecs of updates. Pure, and without Flower."""
