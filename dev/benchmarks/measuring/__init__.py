"""How a load is measured: CPU time and memory, latencies, several systems in turn, and the machine it ran on."""
