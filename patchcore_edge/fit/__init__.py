"""From images to a memory bank: features, where they are held, and what stands out among them."""
