{{ config(materialized='table', meta={'only_increments': true}) }}
-- Classes whose history an increment writes anew: of movers, of those who wait until a class has held (P-16), and of people
-- who may no longer be profiled. None in a full build.
{% if increments() %}
select customer_key, scheme from {{ ref('int_class_moves') }}
union
select customer_key, scheme from {{ source('history', 'class_history') }}
where valid_to is null and published_from is null
union
select history.customer_key, history.scheme from {{ source('history', 'class_history') }} as history
semi join {{ ref('int_persons_excluded') }} as excluded on history.customer_key = excluded.customer_key
{% else %}
select customer_key, scheme from {{ ref('int_class_moves') }}
-- depends_on: {{ source('history', 'class_history') }}, {{ ref('int_persons_excluded') }}
limit 0
{% endif %}
