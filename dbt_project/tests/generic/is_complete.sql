{# One row, and no null in any of its columns. #}
{% test is_complete(model) %}
{%- set columns = adapter.get_columns_in_relation(model) if execute else [] %}
with counted as (
    select
        count(*) as rows_n
        {%- for column in columns %},
        count({{ column.name }}) as stated_{{ loop.index }}
        {%- endfor %}
    from {{ model }}
)

select 'there is not exactly one row' as rule from counted where rows_n <> 1
{%- for column in columns %}
union all
select '{{ column.name }} is missing' as rule from counted where stated_{{ loop.index }} < 1
{%- endfor %}
{% endtest %}
