{#
  The incremental core (docs/decisions/021-incremental-core.md). A model that goes on from the build before is
  materialized='incremental', incremental_strategy='replace_touched', unique_key=[its key],
  meta={'touched': 'the model that lists the keys to compute again'}, and has one SELECT: a full build runs it over
  everything, an increment over what only_touched() leaves of it.
#}

{#
  Whether this build goes on from the build before. `strata run` says so after it has proven what the warehouse holds
  (pipeline/transform/base.py); dbt called by hand never does, and computes everything.
#}
{% macro increments() -%}
    {{ return(execute and env_var('STRATA_INCREMENT', '') == 'yes') }}
{%- endmacro %}

{#
  Whether this model goes on from its own rows. The history of classes does where the warehouse holds what the release has
  that history goes on from (pipeline/transform/history.py); elsewhere it takes the release's, also in an increment.
#}
{% macro goes_on() -%}
    {{ return(increments() and (not config.get('meta').get('of_history') or env_var('STRATA_HISTORY', '') == 'yes')) }}
{%- endmacro %}

{#
  Narrows `rows` to the touched keys of an increment. The comments, here and below, are what pipeline/transform/replay.py
  goes by: it builds everything.
#}
{% macro only_touched(touched, rows, keys=['source', 'order_id']) -%}
    {%- if goes_on() and is_incremental() -%}
    /* increment */ semi join {{ touched }} as touched on
    {%- for key in keys %} {{ rows }}.{{ key }} = touched.{{ key }}{{ ' and' if not loop.last }}{% endfor %} /* instead of */
    {%- endif -%}
{%- endmacro %}

{# Where rows of orders are read from: all of them, in an increment those of touched orders, which were found once. #}
{% macro of_touched(relation, touched) -%}
    {%- if goes_on() and is_incremental() -%}
    /* increment */ {{ touched }} /* instead of {{ relation }} */
    {%- else -%} {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#
  What was computed again takes the place of every row of a touched key, also where nothing is left of it. By name: a table
  with a contract has its columns in the contract's order.
#}
{% macro get_incremental_replace_touched_sql(arguments) -%}
    {%- set target = arguments['target_relation'] -%}
    {%- set keys = arguments['unique_key'] -%}
    delete from {{ target }} as built
    where exists (
        select 1 from {{ core_table(config.get('meta')['touched']) }} as touched
        where {% for key in keys %}built.{{ key }} = touched.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    );
    insert into {{ target }} by name select * from {{ arguments['temp_relation'] }}
{%- endmacro %}

{# A model of this layer as the warehouse holds it, without a dependency: before its turn, that is the build before's. #}
{% macro core_table(name) -%}
    {{ return(api.Relation.create(database=target.database, schema='intermediate', identifier=name)) }}
{%- endmacro %}

{#
  What an increment compares with: copies of the relations by which a row can change without a delivery of its own, kept
  at the end of each build. Name → (schema, columns that decide).
#}
{% macro kept_relations() -%}
    {{ return({
        'deliveries_in_force': ('staging', ['*']),
        'int_run_policy': ('intermediate', ['*']),
        'int_customer_links': ('intermediate', ['is_current', 'source', 'source_customer_id', 'customer_key']),
        'int_guest_orders': ('intermediate', ['*']),
        'int_internal_customers': ('intermediate', ['*']),
        'int_exchange_rates': ('intermediate', ['currency', 'day', 'rate', 'rate_at_refresh']),
        'int_product_cost_periods': ('intermediate', ['*']),
        'int_products': ('intermediate', ['product_id', 'effective_tax_rate', 'effective_tax_rate_at_refresh', 'unit_cost',
                         'has_dated_cost', 'margin', 'margin_basis', 'is_merchandise', 'category_l1', 'brand']),
        'int_orders_fully_returned': ('intermediate', ['*']),
        'int_persons_excluded': ('intermediate', ['customer_key']),
    }) }}
{%- endmacro %}

{# The copy that the build before kept. #}
{% macro kept(name) -%}
    {{ return(api.Relation.create(database=target.database, schema='base', identifier=name)) }}
{%- endmacro %}

{# At the end of a build. A build that failed or was narrowed keeps copies too; it leaves no proof, and none is read. #}
{% macro keep_base() -%}
    {%- if execute and flags.WHICH == 'build' -%}
    create schema if not exists base;
    {% for name, (schema, columns) in kept_relations().items() -%}
    {%- set relation = adapter.get_relation(database=target.database, schema=schema, identifier=name) -%}
    {%- if relation %}
    create or replace table {{ kept(name) }} as select {{ columns | join(', ') }} from {{ relation }};
    {% endif -%}
    {%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{# Rows of `relation` (kept under its model's name) that came, went or look otherwise since the build before. #}
{% macro changed_rows(relation) -%}
    {%- set columns = kept_relations()[relation.identifier][1] | join(', ') -%}
    (
        (select {{ columns }} from {{ relation }} except select {{ columns }} from {{ kept(relation.identifier) }})
        union all
        (select {{ columns }} from {{ kept(relation.identifier) }} except select {{ columns }} from {{ relation }})
    )
{%- endmacro %}

{#
  Whether a day lies where it has entered or left a window since the build before: between the two positions of one of the
  `bounds`, columns of int_run_policy. After relations `now` and `before`, one row each.
#}
{% macro has_crossed(day, bounds) -%}
    (
        {%- for bound in bounds %}
        {{ 'or ' if not loop.first }}{{ day }} >= least(now.{{ bound }}, before.{{ bound }})
            and {{ day }} < greatest(now.{{ bound }}, before.{{ bound }})
        {%- endfor %}
    )
{%- endmacro %}

{#
  Rows of raw that may be of a touched order, found in one scan for all who read them: in_touched_orders() leaves out what
  came along. None in a full build.
#}
{% macro raw_rows_of_touched_orders(rows) -%}
{% if increments() %}
{{ raw_rows_of(rows, ref('int_orders_touched')) }}
{% else %}
select * from {{ rows }}
limit 0
{% endif %}
{%- endmacro %}

{% macro in_touched_orders(rows) -%}
semi join {{ ref('int_orders_touched') }} as touched
    on {{ rows }}.source = touched.source and {{ rows }}.order_id = touched.order_id
{%- endmacro %}
