// SPDX-License-Identifier: Apache-2.0
// Edit distance (insert, delete, replace, swap of neighbours) with two rows of fixed size. Any thread.
#include "gateway/nearest.h"

#include <stdio.h>

#define LONGEST 127

void
gw_nearest_init(struct gw_nearest *nearest, struct gw_span wanted)
{
	nearest->wanted = wanted;
	nearest->best[0] = '\0';
	nearest->distance = wanted.len / 3 + 2; // farther than this is no slip
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
edits(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t rows[3][LONGEST + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;

	for (size_t j = 0; j <= b_len; j++)
		above[j] = before[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[b_len];
}

void
gw_nearest_try(struct gw_nearest *nearest, const char *candidate)
{
	size_t len = strlen(candidate), distance;

	if (len > LONGEST || nearest->wanted.len > LONGEST || len == 0)
		return;
	distance = edits(nearest->wanted.at, nearest->wanted.len, (const uint8_t *)candidate, len);
	if (distance >= nearest->distance)
		return;
	nearest->distance = distance;
	snprintf(nearest->best, sizeof(nearest->best), "%s", candidate);
}

const char *
gw_nearest_words(const struct gw_nearest *nearest, char out[160])
{
	out[0] = '\0';
	if (nearest->best[0] != '\0')
		snprintf(out, 160, "; did you mean \"%s\"?", nearest->best);
	return out;
}
