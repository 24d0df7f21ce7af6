"""What is trained and how: LightningModules, data modules, strategies and callbacks. The only folder that knows Lightning."""
