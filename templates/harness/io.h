/* A stream of bytes into the image and one out of it, whatever the machine offers. */
#ifndef HARNESS_IO_H
#define HARNESS_IO_H

#include <stdint.h>

enum {
    IO_DONE = 0,
    IO_FAULT = 2,         /* the processor took an exception */
    IO_END_OF_INPUT = 3,  /* the image wanted more input than there is */
    IO_NO_FILE = 4,       /* input.bin or output.bin cannot be opened */
    IO_BAD_COMMAND = 5,   /* the input holds what the image does not know */
    IO_STACK = 6          /* the stack outgrew its region */
};

void io_open(void);

/* The next byte of the input; ends the image with IO_END_OF_INPUT where there is none. */
uint8_t io_get(void);

void io_put(uint8_t byte);

/* Write what is still buffered and end the image. */
void io_exit(int status) __attribute__((noreturn));

static inline uint32_t io_get_word(void)
{
    uint32_t word = io_get();
    word |= (uint32_t)io_get() << 8;
    word |= (uint32_t)io_get() << 16;
    word |= (uint32_t)io_get() << 24;
    return word;
}

static inline void io_put_word(uint32_t word)
{
    io_put((uint8_t)word);
    io_put((uint8_t)(word >> 8));
    io_put((uint8_t)(word >> 16));
    io_put((uint8_t)(word >> 24));
}

#endif
