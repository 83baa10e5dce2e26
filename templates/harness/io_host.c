/* The stream on a computer with files: input.bin and output.bin of the working folder. */
#include "io.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *input;
static FILE *output;

void io_open(void)
{
    input = fopen("input.bin", "rb");
    output = fopen("output.bin", "wb");
    if (input == NULL || output == NULL) {
        exit(IO_NO_FILE);
    }
}

uint8_t io_get(void)
{
    const int byte = getc(input);

    if (byte == EOF) {
        io_exit(IO_END_OF_INPUT);
    }
    return (uint8_t)byte;
}

void io_put(uint8_t byte)
{
    putc(byte, output);
}

void io_exit(int status)
{
    fclose(input);
    if (fclose(output) != 0 && status == IO_DONE) {
        status = IO_NO_FILE;
    }
    exit(status);
}
