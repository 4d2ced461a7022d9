// SPDX-License-Identifier: Apache-2.0
// Whether the series' file reaches a size and stays there: `series_soak DIR [--beds N] [--periods N] [--numerics-h H] [--waveforms-h H] [--budget-mb N]
// [--csv FILE]`. Prints each period's most; the status tells whether the last half grew by more than a fiftieth over the half before.
#include "series_soak.h"

#include <string.h>

static const char *
option(int argc, char **argv, const char *name, const char *fallback)
{
	for (int i = 2; i + 1 < argc; i += 2)
		if (strcmp(argv[i], name) == 0)
			return argv[i + 1];
	return fallback;
}

static uint64_t
most(const uint64_t *bytes, int from, int to)
{
	uint64_t greatest = 0;

	for (int i = from; i < to; i++)
		greatest = bytes[i] > greatest ? bytes[i] : greatest;
	return greatest;
}

int
main(int argc, char **argv)
{
	struct soak_result *result = malloc(sizeof(*result));
	const char *csv = option(argc, argv, "--csv", NULL);
	struct soak soak = { .dir = argc > 1 ? argv[1] : NULL };
	uint64_t early, late;

	if (soak.dir == NULL || result == NULL) {
		fprintf(stderr, "usage: series_soak DIR [--beds N] [--periods N] [--numerics-h H] [--waveforms-h H] [--budget-mb N] [--csv FILE]\n");
		return 2;
	}
	soak.beds = atoi(option(argc, argv, "--beds", "4"));
	soak.periods = atoi(option(argc, argv, "--periods", "10"));
	soak.numerics_s = (int64_t)(atof(option(argc, argv, "--numerics-h", "10")) * 3600);
	soak.waveforms_s = (int64_t)(atof(option(argc, argv, "--waveforms-h", "2")) * 3600);
	soak.budget_bytes = strtoull(option(argc, argv, "--budget-mb", "4096"), NULL, 10) << 20;
	if (soak.beds < 1 || soak.beds > 512 || soak.periods < 4 || soak.periods > SOAK_PERIODS_MAX || (csv != NULL && (soak.csv = fopen(csv, "w")) == NULL))
		return 2;
	soak_all(&soak, result);
	if (soak.csv != NULL)
		fclose(soak.csv);
	puts("period   file MB   used MB");
	for (int i = 0; i < soak.periods; i++)
		printf("%6d  %8.1f  %8.1f\n", i + 1, (double)result->file_bytes[i] / 1e6, (double)result->used_bytes[i] / 1e6);
	early = most(result->file_bytes, soak.periods / 4, soak.periods / 2);
	late = most(result->file_bytes, soak.periods / 2, soak.periods);
	printf("%llu readings taken, %llu chunks deleted, full %llu times; the second half's most is %.3f of the first's\n", (unsigned long long)result->readings,
	    (unsigned long long)result->deleted, (unsigned long long)result->full, (double)late / (double)early);
	free(result);
	return late > early + early / 50;
}
