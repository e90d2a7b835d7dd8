"""What all benchmarks share: the table, processes and clocks, samples."""
