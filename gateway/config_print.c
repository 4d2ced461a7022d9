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
	switch (option->type) {
	case GW_OPTION_BOOL: fputs(option->number ? "true" : "false", out); break;
	case GW_OPTION_INT: fprintf(out, "%" PRId64, option->number); break;
	case GW_OPTION_CHOICE: fputs(option->text, out); break;
	case GW_OPTION_TEXT:
	case GW_OPTION_PATH: print_text(option->text, out); break;
	case GW_OPTION_TEXTS:
	case GW_OPTION_LIST: fputs("[]", out); break;
	case GW_OPTION_PAIRS: fputs("{}", out); break;
	}
}

static void
print_texts(const struct gw_config_texts *texts, FILE *out)
{
	fputc('[', out);
	for (size_t i = 0; i < texts->count; i++) {
		fputs(i > 0 ? ", " : "", out);
		print_text(texts->at[i].text, out);
	}
	fputc(']', out);
}

static void
print_pairs(const struct gw_config_pairs *pairs, FILE *out)
{
	fputc('{', out);
	for (size_t i = 0; i < pairs->count; i++) {
		fputs(i > 0 ? ", " : "", out);
		print_text(pairs->at[i].key, out);
		fputs(": ", out);
		print_text(pairs->at[i].value, out);
	}
	fputc('}', out);
}

static void
print_option(const struct gw_option *option, const void *base, int indent, FILE *out);

// Each item begins with "- " in the place of its first option's indentation.
static void
print_list(const struct gw_option *option, const struct gw_config_list *list, int indent, FILE *out)
{
	const struct gw_option_kind *kind = option->items;

	if (list->count == 0)
		fputs("[]", out);
	for (size_t i = 0; i < list->count; i++) {
		fprintf(out, "\n%*s-", indent, "");
		for (size_t j = 0; j < kind->count; j++) {
			fputc('\n', out);
			print_option(&kind->options[j], (const char *)list->at + i * kind->size, indent + 2, out);
		}
	}
}

// Without a newline at its end.
static void
print_option(const struct gw_option *option, const void *base, int indent, FILE *out)
{
	const void *at = (const char *)base + option->offset;
	bool items = option->type == GW_OPTION_LIST && ((const struct gw_config_list *)at)->count > 0;

	fprintf(out, "%*s%s:%s", indent, "", option->name, items ? "" : " ");
	switch (option->type) {
	case GW_OPTION_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
	case GW_OPTION_INT: fprintf(out, "%" PRId64, *(const int64_t *)at); break;
	case GW_OPTION_TEXT:
	case GW_OPTION_PATH:
	case GW_OPTION_CHOICE: print_text(*(char *const *)at, out); break;
	case GW_OPTION_TEXTS: print_texts(at, out); break;
	case GW_OPTION_PAIRS: print_pairs(at, out); break;
	case GW_OPTION_LIST: print_list(option, at, indent + 2, out); break;
	}
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
		print_option(option, config, 2, out);
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
	static const char *const words[] = {
		[GW_OPTION_BOOL] = "true or false", [GW_OPTION_TEXT] = "text", [GW_OPTION_PATH] = "path", [GW_OPTION_TEXTS] = "list of texts",
		[GW_OPTION_PAIRS] = "texts by name",
	};

	if (option->type == GW_OPTION_INT)
		fprintf(out, "%" PRId64 " to %" PRId64 "%s%s", option->low, option->high, option->unit[0] != '\0' ? " " : "", option->unit);
	else if (option->type == GW_OPTION_LIST)
		fprintf(out, "list; each with the options of a %s", option->items->name);
	else
		fputs(option->type == GW_OPTION_CHOICE ? option->choices : words[option->type], out);
}

static void
help_option(const struct gw_option *option, FILE *out)
{
	fprintf(out, "  %s.%s (", option->section, option->name);
	print_bounds(option, out);
	fputs("; default ", out);
	print_default(option, out);
	fprintf(out, ")\n      %s\n", option->help);
}

// A list's items, and the lists in them.
static void
help_items(const struct gw_option *list, FILE *out)
{
	const struct gw_option_kind *kind = list->items;

	fprintf(out, "\n%s: an item of %s.%s\n", kind->name, list->section, list->name);
	for (size_t i = 0; i < kind->count; i++)
		help_option(&kind->options[i], out);
	for (size_t i = 0; i < kind->count; i++)
		if (kind->options[i].type == GW_OPTION_LIST)
			help_items(&kind->options[i], out);
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
		help_option(option, out);
	}
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++)
		if (option->type == GW_OPTION_LIST)
			help_items(option, out);
}

// A list shows one item, whose lines stand deeper.
static void
sample_option(const struct gw_option *option, int indent, FILE *out)
{
	fprintf(out, "%*s# %s (", indent, "", option->help);
	print_bounds(option, out);
	fprintf(out, ")\n%*s#%s:", indent, "", option->name);
	if (option->type != GW_OPTION_LIST) {
		fputc(' ', out);
		print_default(option, out);
		fputc('\n', out);
		return;
	}
	fprintf(out, "\n%*s#-\n", indent + 2, "");
	for (size_t i = 0; i < option->items->count; i++)
		sample_option(&option->items->options[i], indent + 4, out);
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
		sample_option(option, 2, out);
	}
}
