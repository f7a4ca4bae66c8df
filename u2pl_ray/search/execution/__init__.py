"""Execution of trials on Ray: Tune's searcher and scheduler, the process of a trial, failures, interrupts."""
