{# Feeds of which every row in force is followed into a fact table (int_fact_rows). #}
{% macro fact_feeds() -%}
    ('orders', 'order_lines', 'returns', 'web_sessions', 'survey_responses', 'tickets')
{%- endmacro %}
