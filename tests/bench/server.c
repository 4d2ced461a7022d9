// SPDX-License-Identifier: Apache-2.0
// What the server under test has used, read from /proc by the generator itself at the very moments
// where its own window begins and ends.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static void
cpu(int pid, struct load_server *s)
{
	char path[64], line[1024];
	unsigned long user = 0, system = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return;
	if (fgets(line, sizeof line, f) != NULL) {
		char *after = strrchr(line, ')');      // the name may hold anything, even spaces
		if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		                            &user, &system) != 2)
			user = system = 0;
	}
	fclose(f);
	s->cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	s->system_s = (double)system / (double)sysconf(_SC_CLK_TCK);
}

static void
memory(int pid, struct load_server *s)
{
	char path[64], line[256];
	unsigned long kb;

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return;
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "VmRSS: %lu", &kb) == 1)
			s->rss_kb = kb;
		else if (sscanf(line, "RssAnon: %lu", &kb) == 1)
			s->anonymous_kb = kb;
	}
	fclose(f);
}

struct load_server
load_server_sample(int pid)
{
	struct load_server s = { 0 };

	if (pid <= 0)
		return s;
	cpu(pid, &s);
	memory(pid, &s);
	return s;
}
