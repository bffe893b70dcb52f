/* SPDX-License-Identifier: MIT */
/*
 * driver_changes.c — the changes of fibers of a run, recorded, and imposed on another.
 *
 * A change is named by the fiber that stays behind and by how many choices it has met, not by its
 * place in the whole run: leaving one out does not rename those of other fibers.  Where nothing is
 * imposed a fiber goes on for as long as it can, and then the next in turn.
 */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

#define FIBERS 4096u

static struct {
    uint64_t met[FIBERS]; /* choices, by fiber */
    uint32_t used;
    changes_t *into;
    changes_t imposed; /* sorted by fiber and number */
    bool imposing;
} st;

static void add(changes_t *to, change_t c)
{
    if (to->n == to->room) {
        to->room = to->room == 0 ? 64 : 2 * to->room;
        to->list = realloc(to->list, to->room * sizeof *to->list);
        if (to->list == NULL)
            abort();
    }
    to->list[to->n++] = c;
}

static int by_fiber(const void *a, const void *b)
{
    const change_t *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

static const change_t *imposed_at(uint32_t from, uint64_t n)
{
    change_t key = {.from = from, .n = n};
    return st.imposed.n == 0 ? NULL : bsearch(&key, st.imposed.list, st.imposed.n, sizeof key, by_fiber);
}

static uint32_t choose(void *arg, uint32_t from, bool from_can_run, uint32_t to)
{
    uint64_t n = st.met[from % FIBERS]++;
    (void)arg;
    if (st.imposing) {
        const change_t *c = imposed_at(from, n);
        to = c != NULL ? c->to : from_can_run ? from : UINT32_MAX;
    }
    if (st.into != NULL && to != from)
        add(st.into, (change_t){.from = from, .to = to, .n = n});
    return to;
}

static void prepare(void)
{
    memset(st.met, 0, sizeof st.met);
    if (st.into != NULL)
        st.into->n = 0;
    sim_on_choice(st.into != NULL || st.imposing ? choose : NULL, NULL);
}

void drv_changes_record(changes_t *into) { st.into = into; }

void drv_changes_impose(const changes_t *changes)
{
    st.imposing = changes != NULL;
    st.imposed.n = 0;
    for (size_t i = 0; changes != NULL && i < changes->n; i++)
        add(&st.imposed, changes->list[i]);
    if (st.imposed.n > 1)
        qsort(st.imposed.list, st.imposed.n, sizeof st.imposed.list[0], by_fiber);
    prepare();
}

/* ---- as text ------------------------------------------------------------------------------- */

static bool take_number(const char **text, char behind, uint64_t max, uint64_t *value)
{
    char *stop;
    if (**text < '0' || **text > '9')
        return false;
    *value = strtoull(*text, &stop, 10);
    if (*value > max || (behind != '\0' && *stop != behind))
        return false;
    *text = stop + (behind != '\0');
    return true;
}

bool drv_changes_read(changes_t *changes, const char *text)
{
    changes->n = 0;
    if (strcmp(text, "none") == 0)
        return true;
    for (;; text++) {
        uint64_t from, n, to;
        if (!take_number(&text, '.', FIBERS - 1, &from) || !take_number(&text, ':', UINT64_MAX - 1, &n) ||
            !take_number(&text, '\0', FIBERS - 1, &to))
            return false;
        add(changes, (change_t){.from = (uint32_t)from, .to = (uint32_t)to, .n = n});
        if (*text != ',')
            return *text == '\0';
    }
}

void drv_changes_print(FILE *to, const changes_t *changes)
{
    if (changes->n == 0)
        fprintf(to, "none");
    for (size_t i = 0; i < changes->n; i++) {
        const change_t *c = &changes->list[i];
        fprintf(to, "%s%u.%llu:%u", i == 0 ? "" : ",", c->from, (unsigned long long)c->n, c->to);
    }
}
