// SPDX-License-Identifier: Apache-2.0
// Files of schemas/ that are built into the program, so that nothing has to be found at run time. Made by CMake (vg_embed); constant; any thread.
#ifndef GW_EMBEDDED_H
#define GW_EMBEDDED_H

#include <stddef.h>

struct vg_embedded {
	const char *name; // the file's name without its ending
	const unsigned char *bytes;
	size_t len;
};

extern const unsigned char vg_nomenclature_csv[]; // schemas/nomenclature.csv
extern const size_t vg_nomenclature_csv_len;
extern const unsigned char vg_units_csv[]; // schemas/units.csv
extern const size_t vg_units_csv_len;
extern const struct vg_embedded vg_profiles_embedded[]; // schemas/profiles/*.yaml; ended by a NULL name

#endif
