{{ config(materialized='table') }}
-- The classes of every customer side by side, as computed; custom segments stand apart. Who lacks one of them is missing
-- here, which a test finds.
{% set marts = class_marts().values() | map(attribute=0) | unique | list -%}
select
    facts.customer_key
    {%- for scheme, (mart, column) in class_marts().items() %},
    {{ mart }}.{{ column }} as {{ scheme }}_class
    {%- endfor %}
from {{ ref('int_customer_facts') }} as facts
{%- for mart in marts %}
inner join {{ ref(mart) }} as {{ mart }} on facts.customer_key = {{ mart }}.customer_key
{%- endfor %}
