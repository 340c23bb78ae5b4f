"""The tour: shows what the product does, step by step, on real sites, with figures; each step states what it expects."""
