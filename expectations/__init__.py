"""What must hold before data comes in (sources) and before it leaves (audiences). One file per gated table."""
