"""An experiment as a KubeRay RayJob: rendered, submitted, followed."""
