/* The library pauses in virtual time. */
void sim_spin(void);
