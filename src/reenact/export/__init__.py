"""Models as graphs for fast runtimes: exporting, simplifying, comparing, choosing."""
