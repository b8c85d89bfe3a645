/* Reads UMALLOC_NUMA: a policy's name and, behind a colon, a list of nodes. The text is read twice, so that a
   bad one changes nothing and no second copy of the result (1 KiB) is needed. */
#include "conf/numa.h"

enum { NODES_NONE, NODES_MAY, NODES_MUST };

static const struct form {
    char name[16];
    uint8_t policy, nodes;
    bool weights;
} forms[] = {
    {"local", UM_PLACING_LOCAL, NODES_NONE, false},
    {"local-strict", UM_PLACING_LOCAL_STRICT, NODES_NONE, false},
    {"bind", UM_PLACING_BIND, NODES_MUST, false},
    {"prefer", UM_PLACING_PREFER, NODES_MUST, false},
    {"interleave", UM_PLACING_INTERLEAVE, NODES_MAY, false},
    {"weighted", UM_PLACING_WEIGHTED, NODES_MAY, true},
    {"round-robin", UM_PLACING_ROUND_ROBIN, NODES_MAY, false},
    {"none", UM_PLACING_NONE, NODES_NONE, false},
};

um_placing_spec um_placing_asked;

/* A number of at most `most`; moves *at behind it. */
static bool number(const char **at, unsigned most, unsigned *out) {
    unsigned v = 0;
    const char *s = *at;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++)
        if ((v = v * 10 + (unsigned)(*s - '0')) > most)
            return false;
    *at = s;
    *out = v;
    return true;
}

/* NODE, NODE-NODE or NODE=W; out may be NULL. */
static bool entry(const char **at, bool weights, um_placing_spec *out) {
    unsigned first, last, weight = 0;
    if (!number(at, UM_NODE_IDS - 1, &first))
        return false;
    last = first;
    if (**at == '-' && !weights) {
        ++*at;
        if (!number(at, UM_NODE_IDS - 1, &last) || last < first)
            return false;
    } else if (weights) {
        if (*(*at)++ != '=' || !number(at, UINT8_MAX, &weight) || weight == 0)
            return false;
    }
    for (; out && first <= last; first++) {
        um_node_set_add(&out->nodes, first);
        out->weight[first] = (uint8_t)weight;
    }
    return true;
}

static bool list(const char *s, bool weights, um_placing_spec *out) {
    while (entry(&s, weights, out)) {
        if (*s == 0)
            return true;
        if (*s++ != ',')
            return false;
    }
    return false;
}

/* The text begins with the name; what follows it. NULL: it does not. */
static const char *after(const char *text, const char *name) {
    for (; *name; name++, text++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text + ('a' - 'A')) : *text;
        if (c != *name)
            return NULL;
    }
    return *text == 0 || *text == ':' ? text : NULL;
}

bool um_placing_parse(const char *text, um_placing_spec *out) {
    for (unsigned i = 0; i < UM_COUNT(forms); i++) {
        const struct form *f = &forms[i];
        const char *rest = after(text, f->name);
        if (!rest)
            continue;
        if (*rest == 0 ? f->nodes == NODES_MUST : f->nodes == NODES_NONE || !list(rest + 1, f->weights, NULL))
            return false;
        *out = (um_placing_spec){.policy = (um_placing)f->policy};
        return *rest == 0 || list(rest + 1, f->weights, out);
    }
    return false;
}

static uint32_t common_divisor(uint32_t a, uint32_t b) {
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Steps near the golden section spread the first few evenly, too; steps without a common divisor meet all. */
um_placing_round um_placing_round_of(uint32_t turns) {
    uint32_t stride = (uint32_t)((uint64_t)turns * 0x9E3779B9u >> 32) | 1;
    while (common_divisor(turns, stride) != 1)
        stride++;
    return (um_placing_round){turns, stride};
}

/* The finalizer of MurmurHash3 (Austin Appleby, public domain): every bit of the input changes half of the
 * output's. */
static uint32_t mixed(uint32_t x) {
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    return x ^ x >> 16;
}

uint32_t um_placing_turn(const um_placing_round *r, uint32_t k) {
    uint64_t at = (uint64_t)(k % r->turns) * r->stride + mixed(k / r->turns + 1) % r->turns;
    return (uint32_t)(at % r->turns);
}

const char *um_placing_name(um_placing policy) {
    unsigned i = 0;
    while (i + 1 < UM_COUNT(forms) && forms[i].policy != policy)
        i++;
    return forms[i].name;
}
