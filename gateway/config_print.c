// SPDX-License-Identifier: Apache-2.0
// The table of options shown in three ways: a configuration as understood, help for people, a commented file. Any thread.
#include "gateway/config.h"

#include <inttypes.h>
#include <string.h>

// A double-quoted YAML scalar.
static void
print_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void
print_default(const struct gw_option *option, FILE *out)
{
	if (option->type == GW_OPTION_BOOL)
		fputs(option->number ? "true" : "false", out);
	else if (option->type == GW_OPTION_INT)
		fprintf(out, "%" PRId64, option->number);
	else if (option->type == GW_OPTION_CHOICE)
		fputs(option->text, out);
	else
		print_text(option->text, out);
}

static void
print_value(const struct gw_option *option, const void *at, FILE *out)
{
	if (option->type == GW_OPTION_BOOL)
		fputs(*(const bool *)at ? "true" : "false", out);
	else if (option->type == GW_OPTION_INT)
		fprintf(out, "%" PRId64, *(const int64_t *)at);
	else
		print_text(*(char *const *)at, out);
}

void
gw_config_print(const struct gw_config *config, FILE *out)
{
	const struct gw_option *option;
	const char *section = "";

	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		if (strcmp(section, option->section) != 0)
			fprintf(out, "%s%s:\n", i > 0 ? "\n" : "", option->section);
		section = option->section;
		fprintf(out, "  %s: ", option->name);
		print_value(option, (const char *)config + option->offset, out);
		fputc('\n', out);
	}
}

static const char *
section_help(const char *name)
{
	const struct gw_option_section *section;

	for (size_t i = 0; (section = gw_option_section_at(i)) != NULL; i++) {
		if (strcmp(section->name, name) == 0)
			return section->help;
	}
	return "";
}

// "1 to 65535 s", "true or false", "last|all", "text", "path"
static void
print_bounds(const struct gw_option *option, FILE *out)
{
	static const char *const words[] = { [GW_OPTION_BOOL] = "true or false", [GW_OPTION_TEXT] = "text", [GW_OPTION_PATH] = "path" };

	if (option->type == GW_OPTION_INT)
		fprintf(out, "%" PRId64 " to %" PRId64 "%s%s", option->low, option->high, option->unit[0] != '\0' ? " " : "", option->unit);
	else
		fputs(option->type == GW_OPTION_CHOICE ? option->choices : words[option->type], out);
}

void
gw_config_help(FILE *out)
{
	const struct gw_option *option;
	const char *section = "";

	fprintf(out, "Options of the configuration (YAML: a section, and its options indented below it).\n");
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		if (strcmp(section, option->section) != 0)
			fprintf(out, "\n%s: %s\n", option->section, section_help(option->section));
		section = option->section;
		fprintf(out, "  %s.%s (", option->section, option->name);
		print_bounds(option, out);
		fputs("; default ", out);
		print_default(option, out);
		fprintf(out, ")\n      %s\n", option->help);
	}
}

void
gw_config_sample(FILE *out)
{
	const struct gw_option *option;
	const char *section = "";

	fprintf(out, "# Configuration of the gateway. Every option stands here; one that is commented out shows its default.\n"
	    "# A path that is not absolute is taken from this file's folder. `vitalgate check -c FILE` says what is wrong with a file\n"
	    "# and prints it as it is understood; `vitalgate options` explains each option.\n");
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		if (strcmp(section, option->section) != 0)
			fprintf(out, "\n# %s\n%s:\n", section_help(option->section), option->section);
		section = option->section;
		fprintf(out, "  # %s (", option->help);
		print_bounds(option, out);
		fprintf(out, ")\n  #%s: ", option->name);
		print_default(option, out);
		fputc('\n', out);
	}
}
