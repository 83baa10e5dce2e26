/* What the generated C needs of <immintrin.h>: the compiler's own headers up to AVX2.
 *
 * To read those for AVX-512 and later takes gcc longer than to compile a model. conftest.py puts
 * this folder before the system's; test_codegen_compiles.py takes the whole header once for each
 * compiler. */
#ifndef _IMMINTRIN_H_INCLUDED /* gcc's headers ask for the one, clang's for the other */
#define _IMMINTRIN_H_INCLUDED
#define __IMMINTRIN_H

#include <emmintrin.h>
#include <pmmintrin.h>
#include <tmmintrin.h>
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>

#endif
