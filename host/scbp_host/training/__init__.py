"""Training one module once: recipes, the loop, distillation."""
