"""Those that train side by side in `benchmarks.population`, each in processes of its own."""
