/* Tells the size of the state to whoever reads the object file. */
#include "model_port.h"

extern const char harness_state_size[sizeof(tested_state)];
const char harness_state_size[sizeof(tested_state)] = {0};
