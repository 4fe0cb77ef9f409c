"""The main job: plan what is missing, fetch it once for all, check it, store it, and hand it on in time order."""
