// SPDX-License-Identifier: Apache-2.0
// "Did you mean ...?": the nearest of some known names to one that is not known. Any thread.
#ifndef GW_NEAREST_H
#define GW_NEAREST_H

#include "gateway/span.h"

// Compares candidates one after the other; `best` stays empty where none is near enough to be a slip of the fingers.
struct gw_nearest {
	struct gw_span wanted;
	char best[128];
	size_t distance; // of best, in edits
};

void gw_nearest_init(struct gw_nearest *nearest, struct gw_span wanted);
void gw_nearest_try(struct gw_nearest *nearest, const char *candidate);
// "; did you mean \"port\"?" or "": lives as long as out.
const char *gw_nearest_words(const struct gw_nearest *nearest, char out[160]);

#endif
