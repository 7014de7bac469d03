"""What every part of the engine uses: errors, progress, settings, devices, memory, provenance."""
