/* The stream on an AVR: input lies in the program memory, output goes to the serial port.
 *
 * simavr reads no files for the program, so the input is an array that is filled into the
 * image before it runs. What is sent to USART0 simavr prints, a line at a time: here two
 * hexadecimal digits per byte, and at the end a line with the exit status. */
#include "io.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>

/* 32 bytes a line: simavr breaks lines after 256 characters. */
#define LINE_BYTES 32u

/* Behind all code: constants that the model reads by 16-bit addresses come first, below 64 KiB. */
const uint8_t harness_input[HARNESS_INPUT_BYTES]
    __attribute__((section(".text.harness_input"), used)) = {0};

static uint32_t input_at;
static uint8_t line_count;

static void send(char character)
{
    while ((UCSR0A & (1u << UDRE0)) == 0u) {
    }
    UDR0 = (uint8_t)character;
}

static void send_byte(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";

    send(digits[byte >> 4]);
    send(digits[byte & 15u]);
}

void io_open(void)
{
    UBRR0 = 0u; /* as fast as it goes */
    UCSR0A = 1u << U2X0;
    UCSR0B = 1u << TXEN0;
}

uint8_t io_get(void)
{
    if (input_at == sizeof harness_input) {
        io_exit(IO_END_OF_INPUT);
    }
#if defined(__AVR_HAVE_ELPM__)
    return pgm_read_byte_far(pgm_get_far_address(harness_input) + input_at++);
#else
    return pgm_read_byte_near(harness_input + input_at++);
#endif
}

void io_put(uint8_t byte)
{
    send_byte(byte);
    if (++line_count == LINE_BYTES) {
        line_count = 0u;
        send('\n');
    }
}

void io_exit(int status)
{
    if (line_count != 0u) {
        send('\n');
    }
    send('=');
    send_byte((uint8_t)status);
    send('\n');
    /* To sleep with interrupts off is what ends simavr. */
    cli();
    for (;;) {
        sleep_mode();
    }
}
