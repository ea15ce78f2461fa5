"""What reads raw tables row by row, and sorts them: one package an engine, all behind `Engine`."""
